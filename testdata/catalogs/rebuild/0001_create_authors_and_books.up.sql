CREATE TABLE authors (id integer PRIMARY KEY, name text);
CREATE TABLE books (
    id integer PRIMARY KEY,
    author_id integer NOT NULL REFERENCES authors (id) ON DELETE CASCADE,
    title text NOT NULL
);
INSERT INTO authors VALUES (1, 'Ursula'), (2, 'Stanislaw');
INSERT INTO books VALUES (1, 1, 'The Dispossessed'), (2, 2, 'Solaris');
