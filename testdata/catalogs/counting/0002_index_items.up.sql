CREATE UNIQUE INDEX items_name ON items (name);
