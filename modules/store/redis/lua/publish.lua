-- Appends events to the running turn, renews its lease and may end it. ARGV: end of the
-- session's keys, turn, lease, for how long a finished turn is kept (-1: it goes on),
-- and then of each event: number, kind, data.
-- Returns 0 if the turn does not run, 2 if it was cancelled, 3 if its session was deleted,
-- else 1.
local ending, id = ARGV[2], ARGV[3]
local t = read(ending)
if not t or t.id ~= id or not t.running then return 0 end
if t.gone then
  if ARGV[5] ~= '-1' then forget(ending, id) end
  return 3
end
publish(ending, id, tonumber(ARGV[4]), tonumber(ARGV[5]), 6, #ARGV)
return t.cancelled and 2 or 1
