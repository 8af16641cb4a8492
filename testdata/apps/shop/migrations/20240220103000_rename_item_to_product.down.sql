ALTER TABLE orders RENAME COLUMN product TO item;
