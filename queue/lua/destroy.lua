-- destroy deletes a type's whole queue.
--
-- KEYS  see the prelude
-- ARGV  1 "1" to delete it even if jobs are left
-- Returns {jobs waiting, scheduled, active, dead, ended jobs whose follow-ups are not pushed yet}: if any and not forced, nothing was deleted
local counts = call('HMGET', CONTROL, 'wstale', 'grouped')
local waiting = tonumber(counts[2] or 0) - tonumber(counts[1] or 0)
for p = 1, 5 do waiting = waiting + call('LLEN', WAITING[p]) end
local left = {waiting, call('ZCARD', SCHEDULED), call('ZCARD', ACTIVE), call('ZCARD', DEAD), call('ZCARD', After.OUTBOX)}
if ARGV[1] == '1' or left[1] + left[2] + left[3] + left[4] + left[5] == 0 then
  call('UNLINK', BASE .. 'batches')
  call('UNLINK', JOBS, BLOBS, RESULTS, ATTEMPTS, LEASES, ACTIVE, SCHEDULED, DEAD, FINISHED, CONTROL, REPORTS,
    Graves.BURIED, Graves.GRAVES, After.ENDINGS, After.OUTBOX, After.TROUBLES, unpack(WAITING))
  Unique.destroy()
  for _, op in ipairs(call('ZRANGE', REDRIVES, 0, -1)) do call('UNLINK', Canary.REDRIVE .. op) end
  call('UNLINK', REDRIVES, REDRIVING, Canary.CANARIES)
  Group.destroy()
end
return left
