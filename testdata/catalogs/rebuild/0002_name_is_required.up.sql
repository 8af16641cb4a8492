-- The published recipe. With foreign keys on, DROP TABLE would take the books away too.
PRAGMA foreign_keys = OFF;
CREATE TABLE authors_new (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO authors_new SELECT id, name FROM authors;
DROP TABLE authors;
ALTER TABLE authors_new RENAME TO authors;
