-- What a person has approved and no call has used: found however often the client has asked again since.

CREATE INDEX media_job_questions_approved ON media_job_questions (actor_id, sandbox, subject, asked_at)
    WHERE approved_at IS NOT NULL AND used_at IS NULL;
