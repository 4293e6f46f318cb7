CREATE INDEX alerts_alerts_ended ON alerts_alerts (ended_at, uid) WHERE ended_at IS NOT NULL;
