-- wrk script: posts the lines of the file REQUESTS, one after the other, to the path of the address.
local requests, at = {}, 0
function init(args)
  local headers = { ["Content-Type"] = "application/json", ["Authorization"] = os.getenv("AUTHORIZATION") }
  for line in io.lines(os.getenv("REQUESTS")) do
    requests[#requests + 1] = wrk.format("POST", nil, headers, line)
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format("RESULT requests=%d seconds=%.3f p50_ms=%.3f p99_ms=%.3f non2xx=%d socket=%d\n",
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.status, e.connect + e.read + e.write + e.timeout))
end
