-- Until when the secret before this one holds, too.
ALTER TABLE hooks_hooks ADD COLUMN before_until INTEGER;
