ALTER TABLE notify_notices ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE notify_channels DROP COLUMN sealed;
ALTER TABLE notify_channels ADD COLUMN secret TEXT;
