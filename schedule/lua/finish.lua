-- finish ends an entry of the outbox with a line of history; the first to do so wins.
--
-- ARGV  1 entry ("" none: a job that somebody asked for), 2 name, 3 "1" if the tick is to be skipped,
--       4 line of history, 5 "<type> <job ID>" that was pushed ("" none), 6 its tick, ms
-- Returns "done", "gone" if it was finished already, or "push" if it must not be skipped any more
if ARGV[1] ~= '' then
  local value = call('HGET', OUTBOX, ARGV[1])
  if not value then return 'gone' end
  if ARGV[3] == '1' and string.find(value, ' push', 1, true) then return 'push' end
end
if call('HEXISTS', SCHEDULES, ARGV[2]) == 1 then
  note(ARGV[4])
  local last = call('HGET', LAST, ARGV[2])
  -- A tick that another process left behind may come after later ones.
  if ARGV[5] ~= '' and not (last and tonumber(string.match(last, '%d+$')) > tonumber(ARGV[6])) then
    call('HSET', LAST, ARGV[2], ARGV[5] .. ' ' .. ARGV[6])
  end
end
if ARGV[1] ~= '' then
  call('HDEL', OUTBOX, ARGV[1])
  call('ZREM', TAKEOVER, ARGV[1])
end
return 'done'
