-- Finds the steps of a workflow. Not CONCURRENTLY, which would wait for the servers that wait
-- for this migration. No row is in it yet, so writers of `tasks` wait only while its live rows are read once.

CREATE INDEX tasks_steps ON tasks (workflow_id, step, item) WHERE workflow_id IS NOT NULL;
