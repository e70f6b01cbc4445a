-- A queue is split by task type only while each of its live workers pops by type. Workers of earlier releases do not.

ALTER TABLE workers ADD COLUMN pops_by_type boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN workers.pops_by_type IS 'Whether it pops the lists of its task types where a queue is split';
