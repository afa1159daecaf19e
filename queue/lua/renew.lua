-- renew extends the leases of one dispatcher.
--
-- KEYS  see the prelude
-- ARGV  1 lease (ms), then two a lease: id, token
-- Returns a string, a letter a lease: k kept, l lost, c kept but its cancellation is requested
local till = int(clock() + tonumber(ARGV[1]))
local out, scores = {}, {}
for i = 2, #ARGV, 2 do
  local held = call('HGET', LEASES, ARGV[i])
  if held and string.match(held, '^(%S+)') == ARGV[i + 1] and not handed(held) then
    out[#out + 1] = cancelling(held) and 'c' or 'k'
    scores[#scores + 1] = till
    scores[#scores + 1] = ARGV[i]
  else
    out[#out + 1] = 'l'
  end
end
if #scores > 0 then call('ZADD', ACTIVE, 'XX', unpack(scores)) end
return table.concat(out)
