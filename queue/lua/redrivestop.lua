-- redrivestop stops a redrive that goes on; the jobs it has come to stay as they are.
--
-- KEYS  see the prelude
-- ARGV  1 its id, 2 the reason
-- Returns 1, or 0 if there is no such redrive
local state = call('HGET', Canary.REDRIVE .. ARGV[1], 'state')
if not state then return 0 end
if state == 'canary' or state == 'running' then
  redrive_ends(ARGV[1], 'stopped', ARGV[2], clock())
  redrive_due()
end
return 1
