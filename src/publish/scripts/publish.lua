-- Makes a staged publication visible in one step. Runs after fence.lua.
--
-- KEYS: 8 staged hot, 9 staged cold, 10 staged intervals.
-- ARGV: 10 expiry of the publication in ms, 11 and 12 hot and cold counts, 13 how many servers have a planned interval,
--       14 metadata, 15 timestamp.

local STAGED = {
  {KEYS[8], HOT, tonumber(ARGV[11]), members}, {KEYS[9], COLD, tonumber(ARGV[12]), members},
  {KEYS[10], INTERVALS, tonumber(ARGV[13]), fields},
}

local needed = {{'SCARD', KEYS[8]}, {'SET', METADATA, ''}, {'SET', TIMESTAMP, ''}, {'UNLINK', HOT, COLD, INTERVALS}}
for _, staged in ipairs(STAGED) do
  needed[#needed + 1] = {'RENAME', staged[1], staged[2]}
  needed[#needed + 1] = {'PEXPIREAT', staged[2], '1'}
end
if ARGV[13] ~= '0' then needed[#needed + 1] = {'HLEN', KEYS[10]} end
local refused = cannot_write(needed)
if refused then return refused end

for _, staged in ipairs(STAGED) do
  if staged[4](staged[1]) ~= staged[3] then return {'Staging', now} end
end

local expiry = expires_at(ARGV[10])
redis.call('SET', METADATA, ARGV[14], 'PXAT', expiry)
redis.call('SET', TIMESTAMP, ARGV[15], 'PXAT', expiry)
hold()
for _, staged in ipairs(STAGED) do
  -- UNLINK removes the old key, whatever its type, and frees its memory later: RENAME onto it would free a hundred
  -- thousand members at once, while every other client waits.
  redis.call('UNLINK', staged[2])
  if staged[3] > 0 then
    redis.call('RENAME', staged[1], staged[2])
    redis.call('PEXPIREAT', staged[2], expiry)
  end
end
return {'Published', now, displaces and 1 or 0}
