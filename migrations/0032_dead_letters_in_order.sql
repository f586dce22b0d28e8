-- Dead letters of all queues are read in the order in which they died, page after page: without an index in that order
-- each page read and sorted all of them.
-- Old code tolerates it: it adds an index. Its lock lasts as long as one pass over `job_groups`.

CREATE INDEX job_groups_died ON job_groups (finished_at) WHERE state = 'dead';
