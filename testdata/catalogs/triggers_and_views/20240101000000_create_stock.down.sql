BEGIN;
DROP VIEW low_stock;
DROP TRIGGER stock_changed;
DROP TABLE changes;
DROP TABLE stock;
COMMIT;
