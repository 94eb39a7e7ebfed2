import { EntitySchema } from 'typeorm';

export type CpoRow = {
  id: string;
  name: string;
  baseUrl: string | null;
  outboundToken: Buffer | null;
  outboundKeyId: string | null;
  /** The protocols that the CPO supports; null if not configured, which means all. */
  payloadProtocols: string[] | null;
  createdAt: Date;
  suspendedAt: Date | null;
  /** Whether its own developer created it, in a sandbox deployment. */
  sandbox: boolean;
};

export const cpos = new EntitySchema<CpoRow>({
  name: 'cpos',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'cpos_pkey' },
    name: { type: 'text' },
    baseUrl: { name: 'base_url', type: 'text', nullable: true },
    outboundToken: { name: 'outbound_token', type: 'bytea', nullable: true },
    outboundKeyId: { name: 'outbound_key_id', type: 'text', nullable: true },
    payloadProtocols: { name: 'payload_protocols', type: 'text', array: true, nullable: true },
    createdAt: { name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    suspendedAt: { name: 'suspended_at', type: 'timestamptz', precision: 3, nullable: true },
    sandbox: { type: 'boolean', default: false },
  },
  indices: [{ name: 'cpos_name_key', columns: ['name'], unique: true, where: 'not sandbox' }],
});
