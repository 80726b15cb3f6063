-- for wrk: sends the bodies of the file $BODIES (one a line) to $TARGET in turn, prints one JSON line
local requests, count, at = {}, 0, 0
function init(args)
  for line in io.lines(os.getenv("BODIES")) do
    count = count + 1
    requests[count] = wrk.format("POST", os.getenv("TARGET"), {["Content-Type"] = "application/json"}, line)
  end
end
function request()
  at = at % count + 1
  return requests[at]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format('RESULT {"requests":%d,"seconds":%.4f,"p50_ms":%.3f,"p99_ms":%.3f,"errors":%d}\n',
    summary.requests - e.status, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
