/** The channel that is notified when deliveries or a redelivery become due, or when an endpoint was disabled. */
export const WEBHOOKS_CHANNEL = 'scsp_webhooks';
