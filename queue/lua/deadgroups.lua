-- deadgroups reads the groups of dead jobs; see graves.lua. There are some 1,000 at most.
--
-- KEYS  see the prelude
-- Returns a fingerprint and its group, in turn
return call('HGETALL', Graves.GRAVES)
