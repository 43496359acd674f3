-- Aliases that people set, and projects' aliases that people moved.

-- Deployments up to this place in the order of creations no longer move the project's alias by becoming READY: somebody
-- has put it where it is. 0: nobody has.
ALTER TABLE hosts ADD COLUMN settled BIGINT NOT NULL DEFAULT 0;
CREATE INDEX hosts_of_account ON hosts (account_id, created_at);

-- The last promotion or rollback, as JSON; clients ask for it.
ALTER TABLE projects ADD COLUMN alias_move TEXT;
