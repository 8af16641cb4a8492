CREATE TABLE prices (id integer PRIMARY KEY, amount integer NOT NULL);
INSERT INTO prices VALUES (1, 12), (2, 7);
