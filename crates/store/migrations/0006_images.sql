-- Deployments of images: JSON of what was asked for; NULL where a source was uploaded.
ALTER TABLE deployments ADD COLUMN image TEXT;
