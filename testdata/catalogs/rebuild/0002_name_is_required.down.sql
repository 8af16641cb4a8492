PRAGMA foreign_keys = OFF;
CREATE TABLE authors_old (id integer PRIMARY KEY, name text);
INSERT INTO authors_old SELECT id, name FROM authors;
DROP TABLE authors;
ALTER TABLE authors_old RENAME TO authors;
