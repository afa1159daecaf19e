-- get reads all there is about one job.
--
-- KEYS  see the prelude
-- ARGV  1 id
-- Returns {} or {place, record, when due or lease end (ms, "" none), lease, blob, result, history, report}.
-- A running job has only the report of its own attempt.
local id = ARGV[1]
local rec = call('HGET', JOBS, id)
local at = place(id, rec)
if not at then return {} end
local score = ''
if at == 'A' then score = call('ZSCORE', ACTIVE, id) elseif at == 'S' then score = call('ZSCORE', SCHEDULED, id) end
local held = call('HGET', LEASES, id)
local report = call('HGET', REPORTS, id)
if report and at == 'A' and string.match(report, '^[^\n]*') ~= redis.sha1hex('callback ' .. string.match(held or '', '^%S*')) then report = nil end
return {at, rec, score, held or '', call('HGET', BLOBS, id) or '',
  call('HGET', RESULTS, id) or '', call('HGET', ATTEMPTS, id) or '', report or ''}
