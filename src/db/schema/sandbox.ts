import { EntitySchema } from 'typeorm';

export type SandboxSignUpRow = { id: string; addressHash: Buffer; signedUpAt: Date };

/** The self-service CPOs created within the last hour, for the limit by address. */
export const sandboxSignUps = new EntitySchema<SandboxSignUpRow>({
  name: 'sandbox_sign_ups',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'sandbox_sign_ups_pkey' },
    addressHash: { name: 'address_hash', type: 'bytea' },
    signedUpAt: { name: 'signed_up_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
  },
  indices: [{ name: 'sandbox_sign_ups_address_idx', columns: ['addressHash', 'signedUpAt'] }],
});

export type SandboxLimitRow = {
  cpoId: string;
  endpointAt: Date[];
  redemptionAt: Date[];
  unpairAt: Date[];
  runAt: Date[];
};

/** When a CPO of a sandbox deployment used what is limited. */
export const sandboxLimits = new EntitySchema<SandboxLimitRow>({
  name: 'sandbox_limits',
  columns: {
    cpoId: { name: 'cpo_id', type: 'uuid', primary: true, primaryKeyConstraintName: 'sandbox_limits_pkey' },
    endpointAt: { name: 'endpoint_at', type: 'timestamptz', array: true, default: '{}' },
    redemptionAt: { name: 'redemption_at', type: 'timestamptz', array: true, default: '{}' },
    unpairAt: { name: 'unpair_at', type: 'timestamptz', array: true, default: '{}' },
    runAt: { name: 'run_at', type: 'timestamptz', array: true, default: '{}' },
  },
  foreignKeys: [
    {
      name: 'sandbox_limits_cpo_id_fkey',
      target: 'cpos',
      columnNames: ['cpoId'],
      referencedColumnNames: ['id'],
      onDelete: 'CASCADE',
    },
  ],
});
