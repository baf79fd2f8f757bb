"""The sample app: the backend of an AI app builder. Its tables.

A user describes an app in a message; an agent answers with a fragment (generated files in a sandbox). Users are known
by the `subject` of their identity, a plain string: there is no users table. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from typing import Any, Literal

from reactor import UNSET, Document, Id, UnsetType, define_schema, define_table

Framework = Literal["NEXTJS", "ANGULAR", "REACT", "VUE", "SVELTE"]
MessageRole = Literal["USER", "ASSISTANT"]
MessageType = Literal["RESULT", "ERROR", "STREAMING"]
MessageStatus = Literal["PENDING", "STREAMING", "COMPLETE"]
AttachmentType = Literal["IMAGE", "FIGMA_FILE", "GITHUB_REPO"]
ImportSource = Literal["FIGMA", "GITHUB"]
ImportStatus = Literal["PENDING", "PROCESSING", "COMPLETE", "FAILED"]
OAuthProvider = Literal["figma", "github"]
AgentRunStatus = Literal["PENDING", "RUNNING", "COMPLETED", "FAILED"]
AgentRunSource = Literal["WEBCONTAINER", "INNGEST"]
SubscriptionStatus = Literal["active", "past_due", "canceled", "unpaid", "trialing"]
SubscriptionInterval = Literal["monthly", "yearly"]
PlanType = Literal["free", "pro", "unlimited"]
WebhookEventStatus = Literal["received", "processed", "failed", "retrying"]
PendingSubscriptionStatus = Literal["pending", "resolved", "failed"]


# Projects and their conversations


class Project(Document):
    name: str
    user_id: str
    framework: Framework
    model_preference: str | None = None
    created_at: float | None = None
    updated_at: float | None = None


class Message(Document):
    content: str
    role: MessageRole
    type: MessageType
    status: MessageStatus
    project_id: Id[Project]
    created_at: float | None = None
    updated_at: float | None = None


class Fragment(Document):
    """What the agent built for one message. `files` and `metadata` are the agent's own, so any value, null included."""

    message_id: Id[Message]
    sandbox_url: str
    sandbox_id: str | None = None
    title: str
    files: Any
    metadata: Any | UnsetType = UNSET
    framework: Framework
    created_at: float | None = None
    updated_at: float | None = None


class FragmentDraft(Document):
    """Files a user is editing, not yet part of any message."""

    project_id: Id[Project]
    files: Any
    framework: Framework
    created_at: float | None = None
    updated_at: float | None = None


class Attachment(Document):
    type: AttachmentType
    url: str
    width: float | None = None
    height: float | None = None
    size: float
    message_id: Id[Message]
    import_id: Id[Import] | None = None
    source_metadata: Any | UnsetType = UNSET
    created_at: float | None = None
    updated_at: float | None = None


class AgentRun(Document):
    """One piece of work for an agent; `framework` is what the requester wrote, free text."""

    project_id: Id[Project]
    value: str
    model: str | None = None
    framework: str | None = None
    status: AgentRunStatus
    run_source: AgentRunSource
    claimed_by: str | None = None
    message_id: Id[Message] | None = None
    fragment_id: Id[Fragment] | None = None
    error: str | None = None
    created_at: float
    updated_at: float
    completed_at: float | None = None


# Imports from elsewhere


class OAuthConnection(Document):
    user_id: str
    provider: OAuthProvider
    access_token: str
    refresh_token: str | None = None
    expires_at: float | None = None
    scope: str
    metadata: Any | UnsetType = UNSET
    created_at: float
    updated_at: float


class Import(Document):
    user_id: str
    project_id: Id[Project]
    message_id: Id[Message] | None = None
    source: ImportSource
    source_id: str
    source_name: str
    source_url: str
    status: ImportStatus
    metadata: Any | UnsetType = UNSET
    error: str | None = None
    created_at: float
    updated_at: float


# Credits, rates and payment


class Usage(Document):
    """A user's credits for the current window, which ends at `expire`. See `functions/rules/credits.py`."""

    user_id: str
    points: float
    expire: float | None = None
    plan_type: PlanType | None = None


class RateLimit(Document):
    key: str
    count: float
    window_start: float
    limit: float
    window_ms: float


class Subscription(Document):
    user_id: str
    polar_subscription_id: str
    customer_id: str
    product_id: str
    price_id: str
    status: SubscriptionStatus
    interval: SubscriptionInterval
    current_period_start: float
    current_period_end: float
    cancel_at_period_end: bool
    canceled_at: float | None = None
    trial_start: float | None = None
    trial_end: float | None = None
    metadata: Any | UnsetType = UNSET
    created_at: float
    updated_at: float


class PolarCustomer(Document):
    user_id: str
    polar_customer_id: str
    created_at: float
    updated_at: float


class WebhookEvent(Document):
    event_id: str
    event_type: str
    status: WebhookEventStatus
    payload: Any
    error: str | None = None
    processed_at: float | None = None
    retry_count: float
    created_at: float


class PendingSubscription(Document):
    """A subscription whose user is not known yet: the payment arrived before the customer was linked."""

    polar_subscription_id: str
    customer_id: str
    event_data: Any
    status: PendingSubscriptionStatus
    resolved_user_id: str | None = None
    error: str | None = None
    created_at: float
    resolved_at: float | None = None


schema = define_schema(
    projects=define_table(Project)
    .index("by_userId", "user_id")
    .index("by_userId_createdAt", "user_id", "created_at")
    .index("by_createdAt", "created_at"),
    messages=define_table(Message)
    .index("by_projectId", "project_id")
    .index("by_projectId_createdAt", "project_id", "created_at"),
    fragments=define_table(Fragment).index("by_messageId", "message_id"),
    fragment_drafts=define_table(FragmentDraft).index("by_projectId", "project_id"),
    attachments=define_table(Attachment).index("by_messageId", "message_id"),
    oauth_connections=define_table(OAuthConnection)
    .index("by_userId", "user_id")
    .index("by_userId_provider", "user_id", "provider"),
    imports=define_table(Import)
    .index("by_userId", "user_id")
    .index("by_projectId", "project_id")
    .index("by_status", "status"),
    usage=define_table(Usage).index("by_userId", "user_id").index("by_expire", "expire"),
    rate_limits=define_table(RateLimit).index("by_key", "key").index("by_windowStart", "window_start"),
    subscriptions=define_table(Subscription)
    .index("by_userId", "user_id")
    .index("by_polarSubscriptionId", "polar_subscription_id")
    .index("by_customerId", "customer_id")
    .index("by_status", "status"),
    polar_customers=define_table(PolarCustomer)
    .index("by_userId", "user_id")
    .index("by_polarCustomerId", "polar_customer_id"),
    webhook_events=define_table(WebhookEvent)
    .index("by_eventId", "event_id")
    .index("by_status", "status")
    .index("by_eventType", "event_type")
    .index("by_createdAt", "created_at"),
    pending_subscriptions=define_table(PendingSubscription)
    .index("by_polarSubscriptionId", "polar_subscription_id")
    .index("by_customerId", "customer_id")
    .index("by_status", "status"),
    agent_runs=define_table(AgentRun)
    .index("by_projectId", "project_id")
    .index("by_projectId_status", "project_id", "status")
    .index("by_status", "status")
    .index("by_projectId_createdAt", "project_id", "created_at"),
)
