-- The health of an McpGateway for Argo CD: obj in, status and message out. docs/gitops.md says how it gets into argocd-cm.
-- Argo CD gives it no string library.

if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "Being deleted" }
end

local status = obj.status or {}
-- What is said of an older spec is not said of this one. A new object has no observedGeneration yet.
if status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator" }
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function says(type, value)
  return conditions[type] ~= nil and conditions[type].status == value
end

local function text(type)
  local condition = conditions[type]
  return condition.reason .. ": " .. (condition.message or "")
end

if says("Stalled", "True") then
  return { status = "Degraded", message = text("Stalled") }
end
if says("Ready", "True") and conditions.Ready.reason == "Disabled" then
  return { status = "Suspended", message = text("Ready") }
end
if says("Ready", "True") then
  -- Why it has its tier, or none yet: an object without a tier is healthy, its server is polled at the full rate.
  return { status = "Healthy", message = text(conditions.Classified ~= nil and "Classified" or "Ready") }
end
if says("Ready", "False") then
  return { status = "Degraded", message = text("Ready") }
end
return { status = "Progressing", message = "Waiting for the operator" }
