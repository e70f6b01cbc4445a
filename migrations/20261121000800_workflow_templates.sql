-- The templates of workflows: published by workers when they register, as task types are, and read by servers. A version that is
-- published again replaces what it was.

CREATE TABLE workflow_templates (
    namespace    text        NOT NULL,
    name         text        NOT NULL,
    version      text        NOT NULL,
    description  text        NOT NULL,
    steps        integer     NOT NULL,
    template     json        NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (namespace, name, version),
    CONSTRAINT names_in_range CHECK (length(namespace) <= 64 AND length(name) <= 128 AND length(version) <= 128),
    CONSTRAINT description_in_range CHECK (length(description) <= 1000)
);

COMMENT ON TABLE workflow_templates IS 'What workflows are made of: docs/workflow-templates.md';

-- Roles that publish task types without owning the tables publish templates too.
DO $$
DECLARE
    role_name text;
BEGIN
    FOR role_name IN
        SELECT DISTINCT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END
          FROM pg_class c, aclexplode(c.relacl) AS acl
         WHERE c.oid = 'task_types'::regclass AND acl.privilege_type = 'INSERT' AND acl.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON workflow_templates TO %s', role_name);
    END LOOP;
END
$$;
