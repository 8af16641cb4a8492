/* A trigger's body holds semicolons; so do ';' strings and comments; like this one. */
CREATE TABLE stock (id integer PRIMARY KEY, amount integer NOT NULL DEFAULT 0);
CREATE TABLE changes (stock_id integer, was integer, note text DEFAULT 'it''s; changed');
CREATE TRIGGER stock_changed AFTER UPDATE ON stock
BEGIN
    INSERT INTO changes (stock_id, was) VALUES (old.id, old.amount);
    UPDATE changes SET note = note || ';' WHERE stock_id = old.id;
END;
CREATE VIEW low_stock AS SELECT id FROM stock WHERE amount < 5;
