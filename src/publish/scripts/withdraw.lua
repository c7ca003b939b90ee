-- Takes the publication out of Redis and keeps the lock, so that nobody else publishes or purges. Runs after fence.lua.

if not all_allowed({{'UNLINK', HOT, COLD, METADATA, TIMESTAMP}}) then
  return NOT_ALLOWED
end

hold()
-- One command: a reader finds a whole publication or none.
redis.call('UNLINK', HOT, COLD, METADATA, TIMESTAMP)
return {'Withdrawn', now}
