-- after: what a job's end brings about. Follow-ups are jobs of other types,
-- under other hash tags, so no script can push them in the step that ends the
-- job. Instead that step leaves an ending in the type's outbox, and a relay
-- (package relay) pushes what follows, once, and takes the ending away.
-- Put before the scripts that need it, behind unique.
--
-- Keys derived from the tag of control
--   endings   hash  key -> "id S enqueued failed ended\noptions\nwhat": S the state's letter (s, d, c;
--             r: another job has replaced it before it ran), what its result, or else
--             the line of its history that tells of its last attempt
--   outbox    zset  key of an ending by when a relay may take it, ms
--   troubles  hash  key -> "tries error" of an ending that could not be relayed yet
-- control's outbox is the lowest score of the outbox, so that lanes see it at no cost;
-- its endings counts all there ever were. A key is "<ms>-<count>".
local outbox_filled = false -- by this call

local After = lazy(function(After)
  After.ENDINGS, After.OUTBOX, After.TROUBLES = BASE .. 'endings', BASE .. 'outbox', BASE .. 'troubles'

  -- After.ended leaves an ending of a job that something follows. tail is its record's.
  function After.ended(id, state, enqueued, failed, tail, now, what)
    local options = string.match(tail, '^\n([^\n]+)')
    if not options or not string.find(options, '"a":{', 1, true) then return end
    local key = int(now) .. '-' .. int(call('HINCRBY', CONTROL, 'endings', 1))
    call('HSET', After.ENDINGS, key, id .. ' ' .. state .. ' ' .. enqueued .. ' ' .. int(failed) .. ' ' .. int(now) .. '\n' .. options .. '\n' .. what)
    call('ZADD', After.OUTBOX, int(now), key)
    call('HSET', CONTROL, 'outbox', int(now), 'rare', '1')
    outbox_filled = true
  end
end)

-- ended is called when a job has ended: it gives up its unique key, and leaves an
-- ending. A job without options, as most are, costs the comparison of a byte.
local function ended(id, state, enqueued, failed, tail, now, what)
  if string.byte(tail, 2) == 10 then return end
  Unique.release(id, tail)
  After.ended(id, state, enqueued, failed, tail, now, what)
end
