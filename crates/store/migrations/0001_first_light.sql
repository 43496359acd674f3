-- The first schema. Portable subset: TEXT ids, BIGINT milliseconds and flags, JSON as TEXT, no database-side defaults
-- that differ between engines. Migrations only add: during a hand-over the older server still works on this file.

CREATE TABLE revision (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    -- Bumped by every writing transaction; a creation's value is its place in the order of creations.
    value BIGINT NOT NULL
);
INSERT INTO revision (one, value) VALUES (1, 0);

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL,
    display_name TEXT NOT NULL,
    plan TEXT NOT NULL,
    -- 1: may act on the platform itself (status, upgrade).
    admin BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- SHA-256 of the secret, hexadecimal. The secret itself is nowhere.
    hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX tokens_of_account ON tokens (account_id);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (account_id, name)
);

CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    region TEXT NOT NULL,
    state TEXT NOT NULL,
    -- Order of creation over all accounts.
    sequence BIGINT NOT NULL UNIQUE,
    -- Distinct within an account, so that it serves as a cursor.
    created_at BIGINT NOT NULL,
    building_at BIGINT,
    ready_at BIGINT,
    target TEXT,
    meta TEXT NOT NULL,
    env TEXT NOT NULL,
    -- SHA-256 of the creating request, for creations that are sent twice.
    request TEXT NOT NULL,
    wants_alias BIGINT NOT NULL,
    alias_assigned_at BIGINT,
    alias_error TEXT,
    error_code TEXT,
    error_message TEXT,
    error_step TEXT,
    -- Digests of blobs: the source's listing and the output manifest.
    source TEXT NOT NULL,
    output TEXT
);
CREATE UNIQUE INDEX deployments_of_account ON deployments (account_id, created_at);
CREATE INDEX deployments_of_project ON deployments (project_id, sequence);
CREATE INDEX deployments_by_request ON deployments (account_id, request);

-- Every name under which something answers. A deployment's own host is reserved at creation and answers once the
-- deployment is READY.
CREATE TABLE hosts (
    host TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    deployment_id TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    region TEXT NOT NULL,
    -- deployment | project
    kind TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX hosts_of_deployment ON hosts (deployment_id);

-- What other server processes must forget; pruned after a while.
CREATE TABLE host_changes (
    revision BIGINT NOT NULL,
    host TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    removed BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (revision, host)
);

-- Uploaded contents by the name that clients use, per account. Pinned: reported present to a client that may create soon.
CREATE TABLE files (
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    wire TEXT NOT NULL,
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    region TEXT NOT NULL,
    uploaded_at BIGINT NOT NULL,
    pinned_until BIGINT NOT NULL,
    PRIMARY KEY (account_id, wire)
);
CREATE INDEX files_by_digest ON files (digest);

-- Blobs that a deployment names: its source's files, both manifests, outputs.
CREATE TABLE blob_refs (
    deployment_id TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    account_id TEXT NOT NULL,
    PRIMARY KEY (deployment_id, digest)
);
CREATE INDEX blob_refs_by_digest ON blob_refs (digest, account_id);

-- Imported trees that a deployment names.
CREATE TABLE tree_refs (
    deployment_id TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    node_id TEXT NOT NULL,
    PRIMARY KEY (deployment_id, digest)
);
CREATE INDEX tree_refs_by_digest ON tree_refs (digest);

CREATE TABLE builds (
    id TEXT PRIMARY KEY,
    deployment_id TEXT NOT NULL UNIQUE REFERENCES deployments (id) ON DELETE CASCADE,
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    node_id TEXT,
    state TEXT NOT NULL,
    -- Times a worker began.
    attempt BIGINT NOT NULL,
    -- The server process that works on it, and until when that may be believed.
    owner TEXT,
    lease_until BIGINT,
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX builds_by_state ON builds (state, created_at);

CREATE TABLE build_events (
    deployment_id TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    serial BIGINT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    level TEXT,
    text TEXT NOT NULL,
    -- New state, on kind `event`.
    value TEXT,
    PRIMARY KEY (deployment_id, serial)
);

-- Work outside the database that a removal leaves to do.
CREATE TABLE doomed (
    -- tree | deployment
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    node_id TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (kind, name, node_id)
);
