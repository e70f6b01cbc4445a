-- Dead letters stay in `tasks`, for months if nobody acts on them; what lives beside them comes and goes within seconds. So what
-- vacuum does must follow the rows that came and went, and not the size of the table:
--
-- - It begins after so many dead rows (5,000, as set with the table), however many dead letters there are: by a share of
--   2 %, five million of them would let 100,000 dead rows gather.
-- - It always cleans the indexes. Left to itself it passes them over as long as less than 2 % of the pages hold dead rows,
--   and the index of pending rows would keep all its dead entries, through which the net has to look for the oldest.
-- - Parameters of more than about 2 kB are in the table's TOAST table, which needs the same. It gives no pages back either,
--   since that takes a lock that stops everybody.

ALTER TABLE tasks SET (
    autovacuum_vacuum_scale_factor = 0,
    vacuum_index_cleanup = on,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 20000,
    toast.autovacuum_vacuum_cost_delay = 0,
    toast.vacuum_truncate = off
);
