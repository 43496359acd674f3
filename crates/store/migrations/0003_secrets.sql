-- Secrets and variables. Every value is sealed by the program: the database never sees one in the clear, and the
-- environments that deployments have stored in the clear so far are sealed at the next start.

CREATE TABLE secrets (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account_id, name)
);

-- What a project's deployments get when they are created.
CREATE TABLE variables (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- Sealed; NULL where a secret gives it.
    value TEXT,
    secret_id TEXT REFERENCES secrets (id),
    -- JSON list of production | preview | development.
    targets TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX variables_of_project ON variables (project_id, name);
CREATE INDEX variables_by_secret ON variables (secret_id);

-- Environment of the build, sealed; `env` is that of the functions.
ALTER TABLE deployments ADD COLUMN build_env TEXT;
