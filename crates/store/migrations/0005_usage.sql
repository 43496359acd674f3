-- What deployments cost. Counters of a source (a server process, an instance) only rise, and are written as they are: the
-- same report twice is one. Rows outlive their deployment; sources that are over are added up in the source ''.
CREATE TABLE usage (
    source TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    -- Names as they were: the deployment may be gone.
    project TEXT NOT NULL,
    host TEXT NOT NULL,
    requests BIGINT NOT NULL,
    cpu_us BIGINT NOT NULL,
    memory_mib_ms BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    asleep_ms BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (source, deployment_id)
);
CREATE INDEX usage_of_account ON usage (account_id, project);
