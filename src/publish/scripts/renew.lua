-- Renews the lock and, if asked to, the publication, and answers what it found. Runs after fence.lua.
--
-- ARGV: 10 expiry of hot, cold, metadata, timestamp and intervals in ms; 0 leaves them to expire.

-- The caller compares this with what it published; a value longer than any of ours differs in its first bytes. The last
-- value is 1 if any of the keys exists, of whatever type: after a withdrawal none may.
local PUBLISHED = {HOT, COLD, METADATA, TIMESTAMP, INTERVALS}
local found = {
  'Renewed', now, text_at(METADATA, 4095) or false, text_at(TIMESTAMP, 63) or false, members(HOT), members(COLD),
  fields(INTERVALS), 0,
}
for _, key in ipairs(PUBLISHED) do
  if type_of(key) ~= 'none' then found[8] = 1 end
end
local refused = cannot_write({{'PEXPIREAT', HOT, '1'}, {'PEXPIREAT', COLD, '1'}, {'PEXPIREAT', METADATA, '1'},
    {'PEXPIREAT', TIMESTAMP, '1'}, {'PEXPIREAT', INTERVALS, '1'}})
if refused then return refused end

hold()
if ARGV[10] ~= '0' then
  local expiry = expires_at(ARGV[10])
  for _, key in ipairs(PUBLISHED) do
    redis.call('PEXPIREAT', key, expiry)
  end
end
return found
