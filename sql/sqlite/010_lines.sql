-- Until when a job was last seen to wait in line for the provider's rate: whoever takes it over knows that it was not forgotten.
-- Written now and then by the process that has the job, whose other writes leave this column and are not disturbed by it.

ALTER TABLE media_jobs ADD COLUMN in_line_at TEXT;
