-- A worker holds the advisory lock of its key for as long as its process lives, so that its death is seen within seconds.
-- Workers without a key (older ones, those behind a transaction pooler) are judged by their heartbeats alone.

ALTER TABLE workers ADD COLUMN liveness_key bigint CHECK (liveness_key > 0);

COMMENT ON COLUMN workers.liveness_key IS 'The advisory lock that its process holds; its sessions are named tasker-w-<hex>';

-- When three or more workers die within 30 s and most of them ran no suspect, their tasks are not to blame.
CREATE VIEW fleet_health AS
SELECT count(*) >= 3 AND count(*) FILTER (WHERE NOT ran_suspect) * 2 > count(*) AS unhealthy
  FROM workers
 WHERE died_at > now() - interval '30 seconds';

COMMENT ON VIEW fleet_health IS 'Whether workers die for other reasons than the tasks that they run';
