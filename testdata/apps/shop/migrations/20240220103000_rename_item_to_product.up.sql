ALTER TABLE orders RENAME COLUMN item TO product;
