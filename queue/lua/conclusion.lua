-- conclusion: how an attempt ends that no lane settles, because its handler
-- called back or fell silent. Put before the scripts that need it.

local Conclusion = lazy(function(Conclusion)
  -- Conclusion.closing ends the lease of an attempt. It returns how a record's ending
  -- begins, and a line for the history.
  function Conclusion.closing(id, held, now, n, outcome, why)
    local started, by = string.match(held, '^%S+ (%d+) (%S+)')
    call('ZREM', ACTIVE, id)
    call('HDEL', LEASES, id)
    local g = Group.held(held)
    if g then Group.ended(g) end
    local line = '{"n":' .. int(n) .. ',"started_at":' .. started .. ',"duration_ms":' .. int(now - tonumber(started)) ..
      ',"outcome":"' .. outcome .. '"' .. (handed(held) and ',"status":202' or '') ..
      (why and ',"error":' .. cjson.encode(why) or '') .. ',"dispatcher":' .. cjson.encode(by) .. '}'
    return ' ' .. started .. ' ' .. int(now) .. (handed(held) and ' 202' or ' 0'), line
  end

  -- Conclusion.fail ends an attempt as failed, by the type's retry policy: the job is dead
  -- after its last, and else due after delay (ms; nil: full jitter between 0 and
  -- min(longest, backoff * 2^(n-1)), as lanes do it). It returns when the job is
  -- due (ms), nil if never. unsure: nobody knows what became of it; see doubt.
  function Conclusion.fail(id, rec, held, now, why, permanent, delay, unsure)
    local _, p, b, failed, lost, e, w, tail = parse(rec)
    local policy = call('HMGET', CONTROL, 'attempts', 'backoff', 'longest', 'jitter')
    local options = string.match(tail, '^\n([^\n]+)')
    local most = options and cjson.decode(options).m or tonumber(policy[1] or 12)
    failed = failed + 1
    local outcome, state = 'failed', 'q'
    if cancelling(held) then
      outcome, state = 'cancelled', 'c'
    elseif permanent or failed >= most then
      outcome, state = 'dead', 'd'
    end
    local at
    if state == 'q' then
      if not delay then
        delay = math.min(tonumber(policy[3] or 3600000), tonumber(policy[2] or 1000) * 2 ^ math.min(failed - 1, 62))
        if policy[4] ~= '0' then
          -- Scripts have no randomness of their own, but each attempt's token is random.
          local random = redis.sha1hex('backoff ' .. string.match(held, '^%S+'))
          delay = delay * tonumber(string.sub(random, 1, 8), 16) / 4294967296
        end
      end
      at = now + math.floor(delay)
      if Expiry.at(tail, e) <= at then state, at = 'c', nil end
    end
    local ending, line = Conclusion.closing(id, held, now, failed, outcome, why)
    call('HSET', JOBS, id, record(state, p, b, failed, lost, e, w, state == 'q' and '' or ending, doubt(tail, unsure or false)))
    remember(id, line)
    if state == 'c' and outcome == 'failed' then Expiry.note(id, failed + 1, now) end
    if state ~= 'q' then ended(id, state, e, failed, tail, now, line) end
    if state == 'c' then
      call('RPUSH', FINISHED, id .. ' ' .. int(now))
    elseif state == 'd' then
      call('ZADD', DEAD, int(now), id)
      Graves.bury(id, handed(held) and 202 or 0, why or '', now)
    else
      call('ZADD', SCHEDULED, int(at), id)
    end
    return at
  end
end)
