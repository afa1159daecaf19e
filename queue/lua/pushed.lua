-- pushed: how every push ends. Put before the scripts that push.

-- pushed fills the waiting lists (each by its number), wakes lanes if there is a reason, and
-- remembers the answer. wake and behind say what is known so far: that some were put where
-- nothing waited, or behind others; earliest is when the first of those to come is due (ms).
local function pushed(lists, wake, behind, earliest, out, now)
  for p = 1, 5 do
    local list = lists[p]
    if list then
      if call('RPUSH', WAITING[p], unpack(list)) == #list then wake = true else behind = true end
    end
  end
  if behind and not wake then
    local woke = tonumber(call('HGET', CONTROL, 'woke') or 0)
    wake = now - woke >= tonumber(ARGV[4]) or now < woke
  end
  if earliest and lower_due(earliest) then wake = true end
  local answer = table.concat(out, ' ')
  if ARGV[5] ~= '' then answer = answer .. '\n' .. ARGV[5] end
  call('SET', REQUEST, answer, 'PX', ARGV[3])
  if wake then
    call('HSET', CONTROL, 'woke', int(now))
    call('PUBLISH', ARGV[1], ARGV[2])
  end
  return answer
end
