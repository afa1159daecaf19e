-- configure copies a type's settings beside its queue, where the scripts see
-- them. An older version never replaces a newer one.
--
-- KEYS  see the prelude
-- ARGV  1 version, 2 channel, 3 type, then pairs: a field of control and its value ("" for none)
-- Returns 1 if the settings are now in force, 0 if newer ones already were
local version = tonumber(call('HGET', CONTROL, 'version') or -1)
if version > tonumber(ARGV[1]) then return 0 end
local before = call('HMGET', CONTROL, 'rate', 'groups')
local set = {'version', ARGV[1]}
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    call('HDEL', CONTROL, ARGV[i])
  else
    set[#set + 1] = ARGV[i]
    set[#set + 1] = ARGV[i + 1]
  end
end
call('HSET', CONTROL, unpack(set))
-- Asked of all, so that what an earlier release left is found, too.
for _, value in ipairs(call('HMGET', CONTROL, 'batched', 'outage', 'held', 'adaptive', 'expiring', 'outbox', 'redrive', 'canaries', 'rate', 'groups')) do
  if value then
    call('HSET', CONTROL, 'rare', '1')
    break
  end
end
local after = call('HMGET', CONTROL, 'rate', 'groups')
Rate.changed(before[1], after[1])
Group.changed(before[2], after[2])
if version < tonumber(ARGV[1]) then
  local kept = call('HMGET', CONTROL, 'keep', 'age')
  retain(clock(), tonumber(kept[1]), tonumber(kept[2]), 1000)
  call('PUBLISH', ARGV[2], ARGV[3])
end
return 1
