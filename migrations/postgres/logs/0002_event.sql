-- What an event's handler was called with, shortened like a request; null for requests.
alter table executions add column event text collate "C";
