-- Bounds on the instances of each of a deployment's programs. No maximum: as many as limits allow; 0: switched off.
ALTER TABLE deployments ADD COLUMN scale_min BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN scale_max BIGINT;
