-- Takes the publication out of Redis and keeps the lock, so that nobody else publishes or purges. Runs after fence.lua.

local refused = cannot_write({{'UNLINK', HOT, COLD, METADATA, TIMESTAMP, INTERVALS}})
if refused then return refused end

hold()
-- One command: a reader finds a whole publication or none.
redis.call('UNLINK', HOT, COLD, METADATA, TIMESTAMP, INTERVALS)
return {'Withdrawn', now}
