"""The same random steps on an embedded broker and on a real one, compared after each step.

One machine per model: `queues` (RabbitMQ), `logs` (Kafka groups), `streams` (Redis), `channels` (Pub/Sub). A machine draws
30 steps; each is done on every world it has: the embedded one first, then the real one when a target is named. Then
both must show the same: depth, who holds what in which order, marks of redelivery, dead letters with their reasons,
outcomes. By itself each world must keep its messages (E2) and hand none out twice (E3).

Steps are made so that what they lead to does not depend on timing: a step ends when the real broker shows what the
embedded one does, or fails when it does not do so in time.
"""
