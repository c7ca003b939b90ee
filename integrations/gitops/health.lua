-- The health of an McpGateway or an McpGatewayFleet for Argo CD. Input: obj. Output: status and message.
-- docs/gitops.md explains how to install it into argocd-cm. Argo CD provides no string library here.

if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "Being deleted" }
end

local status = obj.status or {}
-- A status of an older generation does not describe this spec. A new object has no observedGeneration yet.
if status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator" }
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is(type, value)
  return conditions[type] ~= nil and conditions[type].status == value
end

local function text(type)
  local condition = conditions[type]
  return condition.reason .. ": " .. (condition.message or "")
end

if is("Stalled", "True") then
  return { status = "Degraded", message = text("Stalled") }
end
if is("Ready", "True") and (conditions.Ready.reason == "Disabled" or is("Suspended", "True")) then
  return { status = "Suspended", message = text("Ready") }
end
if is("Ready", "True") then
  -- Why a gateway has its tier, or none. Without a tier it is healthy: its server is polled at the full rate.
  return { status = "Healthy", message = text(conditions.Classified ~= nil and "Classified" or "Ready") }
end
if is("Ready", "False") then
  return { status = "Progressing", message = text("Ready") }
end
return { status = "Progressing", message = "Waiting for the operator" }
