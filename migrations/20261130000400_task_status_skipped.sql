-- A step of a workflow that is not run, because all its parents were skipped or an operator said so. A file of its own: a new
-- value of an enum cannot be used by the transaction that adds it.

ALTER TYPE task_status ADD VALUE IF NOT EXISTS 'skipped';
