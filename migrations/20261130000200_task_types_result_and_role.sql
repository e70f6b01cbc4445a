-- Task types also publish the JSON Schema of their results and the role that a submit requires. Workers of earlier
-- releases publish neither, and leave both as they are.

ALTER TABLE task_types
    ADD COLUMN result_schema json,
    ADD COLUMN required_role text CHECK (required_role IN ('viewer', 'submitter', 'operator', 'admin'));

COMMENT ON COLUMN task_types.required_role IS 'The role that a submit requires; null: any role that may submit. Of several publications the strictest is kept';

-- Servers of earlier releases know these two by name.
UPDATE task_types SET required_role = 'operator' WHERE name IN ('task:backup', 'service:command');
